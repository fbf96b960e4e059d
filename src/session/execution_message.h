/* The messages of an execution that runs. */
#ifndef CLEAT_SESSION_EXECUTION_MESSAGE_H
#define CLEAT_SESSION_EXECUTION_MESSAGE_H

#include "session/core.h"

void execution_send(struct execution *); /* its request, or what is asked after it */
void execution_take_answer(struct execution *);
void execution_misrouted(struct execution *); /* it fails */

#endif
