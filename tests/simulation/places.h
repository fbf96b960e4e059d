/* Books of places: who holds one and who waits, counted anew from the sessions themselves after
 * every turn that changed one, and the order in which they were admitted, from the log. */
#ifndef SIMULATION_PLACES_H
#define SIMULATION_PLACES_H

#include <stdbool.h>

void places_begin(void);
void places_check(void); /* after every turn, of me */
void places_core_line(const char *line);

extern unsigned places_admissions;            /* from QUEUED to OPENING, of any start */
const char *places_admitted(unsigned number); /* the session, from 0 */

#endif
