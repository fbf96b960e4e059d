/* The syntax of the shared files: sections, keys, comments. Pure. */
#ifndef CLEAT_HTTP_AWS_INI_H
#define CLEAT_HTTP_AWS_INI_H

#include <stdbool.h>
#include <stddef.h>

/* Looks for key in [section], the last one of that name that has it; indented lines belong to
 * the key above and are passed over. free(); NULL: it is not there. Words of a section are
 * compared with one space in between, without quotes ("profile x"). */
char *aws_ini_value(const char *text, const char *section, const char *key);
bool aws_ini_has(const char *text, const char *section);

#endif
