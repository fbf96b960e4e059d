/* Who was found without an owner, and what is to become of them. */
#ifndef CLEAT_SESSION_FOUND_H
#define CLEAT_SESSION_FOUND_H

#include "session/core.h"
#include "session/listing.h"

#define FOUND_CAUSE_SIZE 192

/* A container, with or without a target, or a target alone, as one class lists it. Several
 * classes that use one engine list the same ones. */
struct found {
    char *name; /* in the table */
    struct group *group;
    bool is_target;
    bool nameless;      /* a target of a balancer whose targets carry no names */
    char key[KEY_SIZE]; /* as it is listed */
    char session[ID_SIZE];
    unsigned number;            /* of its attempt; 0: its key is none of ours */
    struct container container; /* of a target: its address alone */
    char *label;                /* as it is listed; NULL: none */
    struct error refusal;       /* why its session was not adopted; ERR_NONE: not tried yet */
    uint64_t tried;             /* number of the newest listing that let it be tried */
    char *tenant, *class_name;  /* as its label says; NULL: it does not */
    bool has_target;
    int64_t first_at; /* core time: when the first listing that showed it was asked for */
    uint64_t first, listing; /* numbers of that one, and of the newest that showed it */
    bool ripe;               /* it was seen for reap_grace_s */
    bool told, ordered, removing;
    UT_hash_handle hh;
};

struct found_table {
    struct found *by_name;
};

enum found_action { FOUND_CLOSE, FOUND_HOLD, FOUND_REPORT };

struct found *found_first(const struct found_table *); /* in the order of their finding */
struct found *found_next(const struct found *);
void found_drop(struct found_table *, struct found *);
/* The same, as the other classes list it. */
void found_drop_others(struct found_table *, const struct found *);
void found_clear(struct found_table *);

/* Enters what the group's listing shows and nobody owns, drops what it shows no longer. */
void found_compare(struct found_table *, struct group *, const struct listed *);
enum found_action found_judge(const struct found_table *, const struct found *,
                              char cause[FOUND_CAUSE_SIZE]);
/* Of all classes that list it, this one is to deal with it, and it is still nobody's. */
bool found_is_chosen(const struct found_table *, const struct found *);

#endif
