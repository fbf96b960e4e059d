/* Simulated `executor --stage`: a child that copies the input of a session into the artifact
 * store, file by file, and says so on its pipe. */
#ifndef SIMULATION_STAGE_H
#define SIMULATION_STAGE_H

#include <stdbool.h>
#include "loop/child.h"

struct stage;

void stages_begin(void);
bool stage_is_asked_for(const struct child_spec *);
/* ended is called once, unless it is forgotten before. */
struct stage *stage_start(const struct child_spec *, child_exit_fn *ended, void *arg);
void stage_kill(struct stage *);
void stage_forget(struct stage *);
void stages_orphaned(void); /* the coordinator is gone */

/* Files of a session's input that are in the artifact store. */
unsigned stage_files_in_store(const char *session);
void stages_check_end(void);
/* The input of so many files, of whichever tenant, that a session can ask for. */
const char *
stage_sources(void); /* all tenants' parts lie below: S3 for tasks, else a directory */
const char *stage_source(const char *tenant, unsigned files);

#endif
