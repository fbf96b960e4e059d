/* What libconfuse 3.3 gets wrong about a file's text is put right before it sees it: a comment
 * line counts three times in its line numbers, and a section that is never closed passes. */
#ifndef CLEAT_CLEATD_CONFTEXT_H
#define CLEAT_CLEATD_CONFTEXT_H

#include <stddef.h>

/* Blanks every comment out (# and // to the end of the line, C comments), newlines stay.
 * Returns the line of the innermost brace that is never closed, 0 when all are. */
int conftext_prepare(char *text);

/* The name that is most like word, NULL when none is near. names ends with NULL. */
const char *conftext_nearest(const char *word, const char *const *names);

#endif
