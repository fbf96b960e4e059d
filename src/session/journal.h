/* The changes of a turn become one commit; effects wait until theirs is durable. */
#ifndef CLEAT_SESSION_JOURNAL_H
#define CLEAT_SESSION_JOURNAL_H

#include "session/core.h"

void journal_add(struct session *);  /* something of it is dirty */
void journal_turn_end(void *core);   /* commits what is dirty */
void journal_forget(struct cleat *); /* commits in flight never call back */
bool journal_has_sessions(struct cleat *, struct error *);
bool journal_load(struct cleat *, struct error *); /* false: a row cannot be understood */
/* Forgets closed sessions whose retention is over, a bounded number. True: there are more. */
bool journal_purge(struct cleat *);

#endif
