#include "session/event_code.h"

#include <stdlib.h>
#include <string.h>

const struct event_code event_codes[] = {
    {"artifacts.lost",
     "Files of the session could not be saved before its container went away"},
    {"attempt.checking", "The load balancer checks whether the container is healthy"},
    {"attempt.ended", "Everything of the container is cleaned up"},
    {"attempt.ending",
     "The container is being closed: its files are saved, then it is stopped"},
    {"attempt.failed", "This container did not get ready"},
    {"attempt.launching", "A container is being launched"},
    {"attempt.live", "The container is in use"},
    {"attempt.registering", "The container runs and is made known to the load balancer"},
    {"attempt.routing", "The way to the container is sought"},
    {"attempt.salvaging", "Saving the container's files failed and is tried again"},
    {"attempt.staging", "The container gets the session's environment and input"},
    {"attempt.starting", "The container was launched and is starting"},
    {"breaker.closed", "The engine works again"},
    {"breaker.half_open", "One call tries whether the engine works again"},
    {"breaker.open", "The engine fails; it is called less often until it works again"},
    {"cleanup.step", "A step of the cleanup is done"},
    {"container.adopted", "A container from before a restart was found and is used on"},
    {"container.answers", "The container answers again"},
    {"container.died", "The container died"},
    {"container.doubt", "The container may be in trouble and is asked whether it lives"},
    {"container.ended", "The container ended by itself"},
    {"container.left", "The engine has not said that it stopped a container; it is waited for"},
    {"credentials.renewed", "The container got fresh credentials for the artifact store"},
    {"drain.begin", "No new sessions are taken for now"},
    {"drain.end", "New sessions are taken again"},
    {"execution.begin", "An execution was given to the container"},
    {"execution.end", "An execution is over"},
    {"input.staged", "The session's input is in the artifact store"},
    {"input.synced", "The container has the session's input"},
    {"job.ended", "The job's command has ended"},
    {"journal.failing", "The journal cannot be written; nothing new is begun"},
    {"journal.works", "The journal is written again"},
    {"launch.progress", "The launch goes on"},
    {"lease.given_up",
     "A static host that is not configured any more does not answer; it is given up"},
    {"lease.released",
     "A static host has confirmed its release: nothing of the session is left there"},
    {"lease.taken", "A static host is leased to a session"},
    {"lease.unconfirmed",
     "A static host has not confirmed its release; nobody else gets it until then"},
    {"listing.failed",
     "Containers or targets could not be listed; orphans are not looked for until it works"},
    {"listing.works", "Containers and targets are listed again"},
    {"misroute", "The load balancer led to another container; nothing of its answer was used"},
    {"op.begin", "The engine was asked to do something"},
    {"op.end", "The engine has answered"},
    {"orphan.closed", "A container or target without an owner is gone"},
    {"orphan.closing", "A container or target without an owner is being closed"},
    {"orphan.found", "A container or target without an owner was found"},
    {"output", "The session wrote output"},
    {"retry", "A step failed and will be tried again"},
    {"route.backoff", "The way to the container was not found yet; it is sought again later"},
    {"sandbox.none", "The container does not isolate what it runs"},
    {"session.adopted",
     "The session was found again by its container; the journal did not hold it"},
    {"session.busy", "The session runs an execution"},
    {"session.capacity", "The engine has no room for a container now; it is asked again"},
    {"session.closed", "The session is closed and cleaned up"},
    {"session.closing", "The session is closing"},
    {"session.failed", "The session could not be given a container"},
    {"session.moved", "The session has moved up in the queue"},
    {"session.opening", "The session's turn has come; it is being given a container"},
    {"session.queued", "The session waits in the queue"},
    {"session.ready", "The session is ready for executions"},
    {"session.replaced", "The session has another container in place of the one that died"},
    {"session.replacing", "The container died; the session is being given another one"},
    {"session.rerouting", "The way to the container was lost and is sought anew"},
    {"target.left", "A container's address could not be taken out of the load balancer"},
    {"warm.claimed", "A warm container was given to a session"},
    {"warm.ended", "A warm container is being closed"},
    {"warm.new", "A warm container is being made"},
    {"warm.paused", "Warm containers could not be made; it is tried again later"},
    {"warm.ready", "A warm container is ready to be given to a session"},
};
const size_t event_code_count = sizeof event_codes / sizeof event_codes[0];

static int compare(const void *name, const void *code)
{
    return strcmp(name, ((const struct event_code *)code)->name);
}

const struct event_code *event_code_find(const char *name)
{
    return bsearch(name, event_codes, event_code_count, sizeof event_codes[0], compare);
}
