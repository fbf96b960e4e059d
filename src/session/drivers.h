/* The drivers that a class names. */
#ifndef CLEAT_SESSION_DRIVERS_H
#define CLEAT_SESSION_DRIVERS_H

#include "driver/balancer.h"
#include "driver/runtime.h"

const struct runtime_ops *runtime_of(const struct class *);
const struct balancer_ops *balancer_of(const struct class *);

#endif
