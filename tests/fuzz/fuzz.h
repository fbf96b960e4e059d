/* What the fuzz targets share. Each fuzz_NAME.c is one program, whose LLVMFuzzerTestOneInput is
 * given bytes and ends the process when a property does not hold. With libFuzzer (configure
 * --enable-fuzzing) it searches for such bytes, else replay.c hands it the kept ones. */
#ifndef CLEAT_FUZZ_H
#define CLEAT_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

int LLVMFuzzerInitialize(int *argc,
                         char ***argv); /* fuzz.c: log lines are checked, not shown */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As assert, whatever the build. */
#define must(what) ((what) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #what))
_Noreturn void fuzz_fail(const char *file, int line, const char *what);

/* The bytes, taken from the front; what is asked for beyond the end is zero or empty. */
struct fuzz {
    const uint8_t *at;
    size_t left;
};
uint8_t fuzz_byte(struct fuzz *);
unsigned fuzz_number(struct fuzz *, unsigned below); /* of one byte; 0 < below ≤ 256 */
char *fuzz_line(struct fuzz *); /* up to a line feed, which is dropped, or a NUL; free() */
char *fuzz_text(struct fuzz *); /* all up to a NUL; free() */
/* Copies of exactly that size, so that each read beyond is seen; free(). */
void *fuzz_bytes(struct fuzz *, size_t *len); /* all */
void *fuzz_piece(struct fuzz *, size_t max, size_t *len);

/* No control characters, all UTF-8: it may stand in logs and in JSON. */
bool fuzz_is_printable(const char *text);
/* An error of this code's call says why, for a person. */
void fuzz_check_error(enum error_code, const struct error *);

#endif
