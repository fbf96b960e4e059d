/* Memory of the world: cut from large pieces, given back all at once. Freed blocks are used
 * again by their size, and to the address sanitizer every block has walls. */
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "world.h"

#define PIECE_SIZE ((size_t)1 << 20)
#define SPARE_PIECES 8
#define UNIT 16
#define SIZES 64 /* freed blocks below UNIT * SIZES are used again */

struct block {
    size_t size; /* of data, in units */
    struct block *next;
    _Alignas(UNIT) unsigned char data[];
};

struct piece {
    struct piece *next;
    size_t used, size;
    _Alignas(UNIT) unsigned char data[];
};

static struct piece *pieces, *spare; /* spare: of earlier worlds */
static struct block *freed[SIZES];

static struct piece *new_piece(size_t size)
{
    struct piece *piece = spare;
    if (piece && size <= PIECE_SIZE) {
        spare = piece->next;
    } else {
        size_t whole = size > PIECE_SIZE ? size : PIECE_SIZE;
        piece = mem_alloc(sizeof *piece + whole);
        piece->size = whole;
    }
    piece->used = 0;
    piece->next = pieces;
    pieces = piece;
    ASAN_POISON_MEMORY_REGION(piece->data, piece->size);
    return piece;
}

/* One unit more than is used stays poisoned behind it. */
static struct block *cut(size_t units)
{
    size_t size = sizeof(struct block) + (units + 1) * UNIT;
    struct piece *piece = pieces;
    if (!piece || piece->size - piece->used < size)
        piece = new_piece(size);
    struct block *block = (struct block *)(void *)(piece->data + piece->used);
    piece->used += size;
    ASAN_UNPOISON_MEMORY_REGION(block, sizeof *block);
    block->size = units;
    return block;
}

void *world_alloc(size_t size)
{
    size_t units = (size + UNIT - 1) / UNIT;
    struct block *block = units < SIZES ? freed[units] : NULL;
    if (block)
        freed[units] = block->next;
    else
        block = cut(units);
    ASAN_UNPOISON_MEMORY_REGION(block->data, size);
    return memset(block->data, 0, size);
}

void world_free(const void *data)
{
    if (!data)
        return;
    char *at = (char *)(uintptr_t)data - offsetof(struct block, data);
    struct block *block = (struct block *)(void *)at;
    ASAN_POISON_MEMORY_REGION(block->data, block->size * UNIT);
    if (block->size >= SIZES)
        return;
    block->next = freed[block->size];
    freed[block->size] = block;
}

void world_free_all(void)
{
    struct piece *piece;
    size_t kept = 0;
    for (piece = spare; piece; piece = piece->next)
        kept++;
    while ((piece = pieces)) {
        pieces = piece->next;
        if (piece->size > PIECE_SIZE || ++kept > SPARE_PIECES) {
            ASAN_UNPOISON_MEMORY_REGION(piece->data, piece->size);
            free(piece);
            continue;
        }
        ASAN_POISON_MEMORY_REGION(piece->data, piece->size);
        piece->next = spare;
        spare = piece;
    }
    memset(freed, 0, sizeof freed);
}

char *world_strdup(const char *s)
{
    if (!s)
        return NULL;
    size_t size = strlen(s) + 1;
    return memcpy(world_alloc(size), s, size);
}

char *world_printf(const char *fmt, ...)
{
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    char *text = world_alloc((size_t)len + 1);
    if ((size_t)len < sizeof small)
        return memcpy(text, small, (size_t)len + 1);
    va_start(ap, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, ap);
    va_end(ap);
    return text;
}
