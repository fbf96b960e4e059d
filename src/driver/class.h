/* A class: a named recipe of runtime, balancer, command and limits. Its options are one table.
 */
#ifndef CLEAT_DRIVER_CLASS_H
#define CLEAT_DRIVER_CLASS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/option.h"

enum { RUNTIME_PROCESS, RUNTIME_DOCKER, RUNTIME_ECS, RUNTIME_STATIC };
enum { BALANCER_DIRECT, BALANCER_HAPROXY, BALANCER_ALB };
enum { ALB_SHARED, ALB_SLOT };
enum { PROOF_REQUIRED, PROOF_NONE };
enum { DIRECT_PATH_AUTO, DIRECT_PATH_NEVER };
enum { SANDBOX_AUTO, SANDBOX_BWRAP, SANDBOX_NONE };
enum { NETWORK_NONE, NETWORK_HOST };
enum { ON_DEATH_FAIL, ON_DEATH_REPLACE };

struct class
{
    char *name;
    /* what runs */
    int runtime, balancer, proof, direct_path;
    char *command;        /* "" : the installed cleat-executor */
    char *artifacts;      /* "file:///dir", "s3://bucket/prefix" or "" */
    char *s3_role;        /* ARN; "": the container has credentials of its own */
    char **input_sources; /* "TENANT=URL": whose input may come from below which URL; TENANT *
                             is any, {tenant} in the URL the tenant's name */
    char *input_path;     /* where input lands in the container */
    /* process */
    char *workspace_dir; /* "": under the state directory */
    char *address_range; /* "127.64.0.0/16" */
    int64_t port;
    int sandbox, network;
    int64_t memory_mb, cpu_s, open_files, file_size_mb, processes; /* 0: no limit */
    int64_t stop_grace_s;
    /* docker */
    char *docker_socket, *image, *docker_user, *docker_network;
    int64_t docker_tmpfs_mb, cpu_milli;
    /* what a request's resources are compared with, beside memory_mb and cpu_milli */
    int64_t gpu;
    char **labels; /* "KEY=VALUE" */
    /* ecs */
    char *ecs_cluster;
    char *ecs_task;      /* path of the RunTask template */
    char *ecs_container; /* the container of the task definition that is ours */
    /* static */
    char **static_hosts; /* "IP:PORT" */
    char *static_key_file;
    /* alb */
    int alb_mode;
    char **alb_target_groups; /* ARNs */
    char **alb_urls;          /* one for all target groups, or one each */
    char *alb_header; /* "": none; else requests to the n-th target group carry it, n from 1 */
    /* haproxy */
    char **haproxy_sockets; /* one per node */
    char **haproxy_urls;    /* the frontend of each node, in the same order */
    char *haproxy_backend;
    char **cookies;           /* names; a trailing * matches any ending */
    char *dynamic_cookie_key; /* "" unless the backend uses `cookie … dynamic` */
    int64_t check_interval_ms, check_fall, check_rise;
    int64_t max_parallel, max_queued; /* of sessions; 0: no limit */
    /* limits of a session */
    int64_t create_timeout_s, start_timeout_s, idle_timeout_s, max_lifetime_s, exec_timeout_s;
    int64_t output_limit_kb, job_log_limit_kb;
    int64_t max_connections;
    /* warm containers */
    int64_t warm_min, warm_max, warm_ttl_s;
    /* launching and routing */
    int64_t launch_attempts, backoff_base_ms;
    int64_t dead_after_s;
    int on_death;
    int64_t gather_ms, gather_max_ms, probes_in_flight, probe_budget;
    /* cleanup */
    int64_t upload_timeout_s, step_timeout_s, salvage_limit_s;
};

extern const struct option class_options[];

bool class_uses_aws(const struct class *); /* runtime, balancer or artifacts */
/* What the one holds of its engine's room the other lacks. */
bool class_shares_engine(const struct class *, const struct class *);
/* Which engine holds its containers: under another text nothing is known of them. region: of
 * AWS. free(). */
char *class_engine(const struct class *, const char *region);

/* Something that an engine's or account's settings would break. */
enum finding_level { FINDING_ERROR, FINDING_WARNING };
typedef void finding_fn(void *arg, enum finding_level, const char *problem, const char *cure);

/* Checks what one option alone cannot show, also of all classes together. False and *e
 * (ERR_CONFIG). */
bool class_check(const struct class *classes, size_t count, struct error *e);

#endif
