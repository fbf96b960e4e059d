/* Lives that are jobs: their outcome and their log, byte for byte. */
#ifndef SIMULATION_JOB_LIFE_H
#define SIMULATION_JOB_LIFE_H

#include "life.h"

/* What the program of that execution says, line by line; half a line is of each stream. */
char *job_line(const char *id, unsigned number);

const char *job_life_request(const struct life *);
void job_life_begin(struct life *);  /* it was submitted */
void job_life_resume(struct life *); /* a new coordinator is there */
void job_life_check_end(const struct life *);

#endif
