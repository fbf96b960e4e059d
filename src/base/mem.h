/* Memory that never fails: out of memory logs one line and aborts; recovery takes over. */
#ifndef CLEAT_BASE_MEM_H
#define CLEAT_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

void *mem_alloc(size_t size); /* zeroed; free() it */
void *mem_array(size_t count, size_t size);
void *mem_grow(void *old, size_t size); /* realloc; new bytes are not zeroed */
char *mem_strdup(const char *s);        /* NULL gives NULL */
char *mem_strndup(const char *s, size_t len);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mem_wipe(void *p, size_t size); /* erases a secret; not optimised away */

/* Copies with truncation, not within a character of UTF-8; always ends with NUL. */
void mem_copy_string(char *to, size_t size, const char *from);

#endif
