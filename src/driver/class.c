#include "driver/class.h"

#define AT(field) .offset = offsetof(struct class, field)
#define INT(field, low, high, value, text)                                                     \
    {                                                                                          \
        .key = #field, .type = OPTION_INT, .min = (low), .max = (high), .fallback = (value),   \
        .help = (text), AT(field)                                                              \
    }
/* One that may change while sessions run. */
#define LIVE_INT(field, low, high, value, text)                                                \
    {                                                                                          \
        .key = #field, .type = OPTION_INT, .min = (low), .max = (high), .fallback = (value),   \
        .help = (text), .live = true, AT(field)                                                \
    }
#define CHOICE(field, words, value, text)                                                      \
    {                                                                                          \
        .key = #field, .type = OPTION_CHOICE, .choices = (words), .fallback = (value),         \
        .help = (text), AT(field)                                                              \
    }
#define STRING(field, longest, value, text)                                                    \
    {                                                                                          \
        .key = #field, .type = OPTION_STRING, .max = (longest), .fallback = (value),           \
        .help = (text), AT(field)                                                              \
    }
#define LIVE_STRING(field, longest, value, text)                                               \
    {                                                                                          \
        .key = #field, .type = OPTION_STRING, .max = (longest), .fallback = (value),           \
        .help = (text), .live = true, AT(field)                                                \
    }
#define LIVE_LIST(field, value, text)                                                          \
    {                                                                                          \
        .key = #field, .type = OPTION_LIST, .fallback = (value), .help = (text), .live = true, \
        AT(field)                                                                              \
    }
#define LIST(field, value, text)                                                               \
    {                                                                                          \
        .key = #field, .type = OPTION_LIST, .fallback = (value), .help = (text), AT(field)     \
    }

const struct option class_options[] = {
    CHOICE(
        runtime, "process|docker|ecs|static", "process",
        "What starts containers. process: each is a cleat-executor on this machine with a "
        "loopback address of its own. docker: each is a container of Docker or Podman, made "
        "from image. ecs: each is a task of AWS ECS, made from ecs_task. static: each is one "
        "of "
        "static_hosts, which run cleat-executor permanently, leased to one session at a time."),
    CHOICE(balancer, "direct|haproxy|alb", "direct",
           "What routes to containers. direct: each is asked on its own address. haproxy, alb: "
           "they are registered with HAProxy or an AWS Application Load Balancer and reached "
           "through it."),
    CHOICE(proof, "required|none", "required",
           "Whether a container must prove who it is. none is for containers that cannot: they "
           "are "
           "told apart by address and session id only."),
    CHOICE(direct_path, "auto|never", "auto",
           "Whether a container's own address may be used to finish a session without the "
           "balancer. auto: where it has answered there with a proof; a container without "
           "proof is only asked there whether it has uploaded."),
    LIVE_STRING(
        command, 4096, "",
        "Program, and after blanks its arguments, that is the container. Empty: the installed "
        "cleat-executor; with runtime docker what the image starts."),
    STRING(artifacts, 4096, "",
           "Where sessions leave their files: file:///directory or s3://bucket/prefix. Empty: "
           "nothing is kept. A container of runtime docker sees its own session's directory "
           "only."),
    STRING(s3_role, 2048, "",
           "ARN of a role that may use the whole of artifacts in S3. cleat assumes it for each "
           "session, narrowed to that session's prefix, and hands the credentials to its "
           "container. Empty: containers have credentials of their own (a task role)."),
    LIVE_LIST(
        input_sources, "",
        "Where the input of sessions may come from: TENANT=URL, the URL file:///directory or "
        "s3://bucket/prefix. Tenant * is any; {tenant} in the URL stands for the tenant's "
        "name."),
    STRING(input_path, 1024, "/workspace/input", "Where input is put in the container."),

    STRING(workspace_dir, 200, "",
           "Directory of the workspaces of runtime process, on a tmpfs for example; classes may "
           "share it. Empty: workspaces in state_dir. Containers are looked for there: it "
           "changes while none of the class is alive."),
    STRING(
        address_range, 18, "127.64.0.0/16",
        "Loopback addresses for containers of runtime process, one each, reused longest-free "
        "first. Classes may name the same range, but not two that overlap."),
    INT(port, 1, 65535, "8080", "Port on which every container listens."),
    CHOICE(sandbox, "auto|bwrap|none", "auto",
           "What encloses user code. bwrap: bubblewrap, with its own process, mount, IPC and "
           "network namespaces. auto: bwrap where it works. none isolates nothing."),
    CHOICE(network, "none|host", "none",
           "Network of user code inside bwrap: none at all, or that of the host."),
    LIVE_INT(
        memory_mb, 0, 1048576, "0",
        "Address space that each process of user code may use, in MiB; with runtime docker the "
        "memory of the whole container. 0: no limit."),
    LIVE_INT(cpu_s, 0, 31536000, "0",
             "CPU time that each process of user code may use, in seconds. 0: no limit."),
    LIVE_INT(open_files, 0, 1048576, "0",
             "Files that each process of user code may have open. 0: no limit."),
    LIVE_INT(file_size_mb, 0, 1048576, "4096",
             "Largest file that user code may write, in MiB. 0: no limit."),
    LIVE_INT(
        processes, 0, 4194304, "0",
        "Processes that the user id of the user code may have; with runtime docker those of "
        "the "
        "whole container, the executor's included. 0: no limit."),
    LIVE_INT(stop_grace_s, 0, 600, "10",
             "Seconds between SIGTERM and SIGKILL when a container is stopped."),

    STRING(ecs_cluster, 2048, "default", "Name or ARN of the ECS cluster."),
    STRING(ecs_task, 4096, "",
           "File with the JSON of a RunTask request, as aws ecs run-task --cli-input-json "
           "takes it; "
           "cleat adds cluster, client token, owner, tags and environment."),
    STRING(ecs_container, 255, "executor",
           "Name of the container in the task definition that serves the session."),

    LIST(static_hosts, "",
         "Hosts of runtime static, IP:PORT or [IPV6]:PORT each: where their cleat-executor "
         "listens."),
    STRING(static_key_file, 4096, "",
           "File with the claim key of static_hosts, 64 hexadecimal digits, readable for its "
           "owner only. The same is in CLEAT_LEASE_KEY_FILE of each host's cleat-executor."),

    CHOICE(alb_mode, "shared|slot", "shared",
           "shared: many targets in a target group, told apart by the sticky cookie. slot: one "
           "target in each target group, behind a listener rule on alb_header."),
    LIST(alb_target_groups, "",
         "ARNs of the target groups; each belongs to this owner and class alone."),
    LIST(alb_urls, "",
         "Where the load balancer listens, http:// or https://: one URL for all target groups "
         "or one "
         "for each."),
    STRING(
        alb_header, 64, "",
        "Header that leads to a target group: requests to the n-th carry its number, from 1. "
        "Empty: none."),

    STRING(docker_socket, 107, "/var/run/docker.sock",
           "Unix socket of the Docker Engine API; Podman's works as well. Who can write to it "
           "is root on its machine."),
    LIVE_STRING(
        image, 512, "",
        "Image of containers of runtime docker, as docker pull takes it. It is pulled when "
        "it is missing."),
    STRING(docker_user, 64, "",
           "User of the container, as UID or UID:GID in numbers. Empty: the executor runs as "
           "root with the "
           "few capabilities that it needs to run user code under another uid."),
    STRING(
        docker_network, 128, "bridge",
        "Network of the container; user code has it as well. It must allow published ports."),
    LIVE_INT(
        docker_tmpfs_mb, 0, 1048576, "0",
        "Size of a workspace in memory, in MiB; what an unconfirmed upload left there ends "
        "with "
        "the container. 0: the workspace is a volume, which is kept in that case."),
    LIVE_INT(
        cpu_milli, 0, 1024000, "0",
        "CPU of a container of runtime docker in thousandths of a processor; with others only "
        "what a request for resources is compared with. 0: no limit."),
    LIVE_INT(gpu, 0, 1024, "0",
             "GPUs of a container, for requests for resources; its task definition or machine "
             "is what gives them."),
    LIVE_LIST(labels, "",
              "What else requests for resources may ask for: KEY=VALUE, in any words."),

    LIST(haproxy_sockets, "",
         "Runtime API sockets of HAProxy (stats socket PATH level admin), one per node."),
    LIST(haproxy_urls, "",
         "Base URL of each node's frontend, in the order of haproxy_sockets."),
    STRING(
        haproxy_backend, 128, "",
        "Backend to which containers are added. Its balance must be a dynamic one: leastconn "
        "finds new containers soonest; roundrobin, first or random. Let it check with option "
        "httpchk GET /health."),
    LIST(cookies, "AWSALB,AWSALBCORS",
         "Names of the balancer's sticky cookies; they are kept and sent as one set. A "
         "trailing * "
         "matches any ending."),
    STRING(dynamic_cookie_key, 256, "",
           "Key for a backend with `cookie NAME insert dynamic`; it is sent again whenever a "
           "server "
           "was added. Empty: the backend has no dynamic cookie."),
    INT(check_interval_ms, 20, 600000, "1000",
        "Milliseconds between two health checks of a target."),
    INT(check_fall, 1, 100, "3", "Failed checks in a row that make a target unhealthy."),
    INT(check_rise, 1, 100, "2", "Passed checks in a row that make a target healthy."),

    LIVE_INT(max_parallel, 0, 100000, "0",
             "Sessions of this class that may hold a container at the same time; the rest "
             "queues. 0: no limit."),
    LIVE_INT(max_queued, 0, 100000, "0",
             "Sessions of this class that may wait for a place. 0: no limit."),
    LIVE_INT(
        create_timeout_s, 1, 86400, "600",
        "Seconds that a session may take to become ready, waiting for its turn not counted."),
    LIVE_INT(start_timeout_s, 1, 86400, "300",
             "Seconds that a container may take from its launch to its first healthy check."),
    LIVE_INT(idle_timeout_s, 1, 2592000, "1800",
             "Seconds without an execution or keepalive after which a session is closed."),
    LIVE_INT(max_lifetime_s, 1, 31536000, "28800",
             "Seconds after which a session is closed, whatever it does."),
    LIVE_INT(exec_timeout_s, 1, 86400, "300",
             "Seconds that one execution may run when its request does not say."),
    LIVE_INT(output_limit_kb, 1, 8192, "1024",
             "Output kept of each stream of an execution, in KiB; the rest is cut and marked."),
    LIVE_INT(job_log_limit_kb, 1, 65536, "16384",
             "Output kept of a job, of both streams together, in KiB; the rest is cut and "
             "marked."),
    LIVE_INT(max_connections, 1, 64, "4",
             "Connections that one session may have to its container."),

    LIVE_INT(
        warm_min, 0, 10000, "0",
        "Warm containers kept at least: READY before anybody asks, so that a session has one "
        "at once."),
    LIVE_INT(
        warm_max, 0, 10000, "0",
        "Warm containers at most, those that start or end included. In between as many are "
        "kept as sessions are expected while one starts. 0: none."),
    LIVE_INT(
        warm_ttl_s, 1, 2592000, "1800",
        "Seconds after which a warm container that no session took is replaced; one without "
        "proof after 3000 at most."),

    LIVE_INT(launch_attempts, 1, 20, "5", "Containers that are tried before a session fails."),
    LIVE_INT(
        backoff_base_ms, 1, 600000, "3000",
        "Back-off before the second try, in milliseconds; each further one waits three times "
        "as "
        "long. Used for launches and for sweeps."),
    LIVE_INT(
        dead_after_s, 1, 3600, "10",
        "Seconds for which a container refuses connections on its own address before it counts "
        "as dead. One that does not answer is busy, however long that takes; all other deaths "
        "are the engine's to tell."),
    CHOICE(on_death, "fail|replace", "fail",
           "What becomes of a session whose container died. fail: it is closed. replace: it is "
           "given another container, with its environment and input; files that the first one "
           "had not uploaded are lost, and so is the execution that was under way."),
    LIVE_INT(gather_ms, 0, 60000, "50",
             "Milliseconds that a sweep waits after its first waiter for others to join."),
    LIVE_INT(gather_max_ms, 0, 60000, "1000",
             "Longest time that a sweep waits for targets that are about to become healthy."),
    LIVE_INT(probes_in_flight, 1, 1024, "32",
             "Probes of one sweep that are under way at once."),
    LIVE_INT(probe_budget, 1, 1000, "5",
             "Probes that one sweep may send, times the healthy targets."),

    LIVE_INT(upload_timeout_s, 1, 86400, "600",
             "Seconds without progress after which an upload counts as failed."),
    LIVE_INT(
        step_timeout_s, 1, 3600, "30",
        "Seconds for any other step with a balancer or container before it is tried again."),
    LIVE_INT(
        salvage_limit_s, 0, 2592000, "3600",
        "Seconds for which a container is kept when its upload is not confirmed; then it is "
        "stopped and what was lost is said."),
    {.key = NULL},
};
