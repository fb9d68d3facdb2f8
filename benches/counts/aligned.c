/* A malloc for LD_PRELOAD that gives cache lines of their own, so that it is no luck how many of them something has. */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>

enum { LINE = 64 };

/* What glibc calls its own. */
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

void *memalign(size_t align, size_t size) { return __libc_memalign(align < LINE ? LINE : align, size); }

void *malloc(size_t size) { return memalign(LINE, size); }

void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

int posix_memalign(void **out, size_t align, size_t size) {
    void *block = memalign(align, size);
    if (block == NULL) return ENOMEM;
    *out = block;
    return 0;
}

void *calloc(size_t n, size_t size) {
    void *block = size == 0 || n <= SIZE_MAX / size ? malloc(n * size) : NULL;
    return block == NULL ? NULL : memset(block, 0, n * size);
}

void *realloc(void *block, size_t size) {
    const size_t before = block != NULL ? malloc_usable_size(block) : 0;
    if (size > 0 && size <= before) return block;
    void *moved = malloc(size);
    if (moved == NULL) return NULL;
    if (block != NULL) memcpy(moved, block, before < size ? before : size);
    __libc_free(block);
    return moved;
}

void free(void *block) { __libc_free(block); }
