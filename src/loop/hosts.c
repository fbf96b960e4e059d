#include "loop/hosts.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t\r\n\v\f"

/* The line's address, written the usual way, when it is of that family and for that name. */
static bool line_matches(char *line, const char *name, int family, char out[INET6_ADDRSTRLEN])
{
    struct in6_addr address; /* large enough for both families */
    char *rest = NULL;
    line[strcspn(line, "#")] = '\0';
    const char *text = strtok_r(line, BLANKS, &rest);
    if (!text || inet_pton(family, text, &address) != 1)
        return false;
    for (const char *word; (word = strtok_r(NULL, BLANKS, &rest));)
        if (strcasecmp(word, name) == 0)
            return inet_ntop(family, &address, out, INET6_ADDRSTRLEN);
    return false;
}

size_t hosts_find(const char *path, const char *name, int family, char (*out)[INET6_ADDRSTRLEN],
                  size_t max)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t size = 0, count = 0;
    if (!file)
        return 0;
    while (count < max && getline(&line, &size, file) >= 0)
        if (line_matches(line, name, family, out[count]))
            count++;
    free(line);
    fclose(file);
    return count;
}
