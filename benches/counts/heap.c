/* A malloc, and an mmap, for LD_PRELOAD that count. At the end they write to the file that HEAP_REPORT names:
 *
 *     allocations N      how often memory was asked for
 *     peak BYTES         the most that was in use at once
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What glibc calls its own. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

static atomic_size_t allocations, used, peak;

static void grow(size_t size) {
    const size_t now = atomic_fetch_add_explicit(&used, size, memory_order_relaxed) + size;
    size_t most = atomic_load_explicit(&peak, memory_order_relaxed);
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now)) continue;
}

static void *count(void *block) {
    if (block == NULL) return NULL;
    grow(malloc_usable_size(block));
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return block;
}

static void forget(void *block) {
    if (block != NULL) atomic_fetch_sub(&used, malloc_usable_size(block));
}

void *malloc(size_t size) { return count(__libc_malloc(size)); }

void *calloc(size_t n, size_t size) { return count(__libc_calloc(n, size)); }

void *memalign(size_t align, size_t size) { return count(__libc_memalign(align, size)); }

void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

int posix_memalign(void **out, size_t align, size_t size) {
    void *block = memalign(align, size);
    if (block == NULL) return ENOMEM;
    *out = block;
    return 0;
}

void *realloc(void *block, size_t size) {
    const size_t before = block != NULL ? malloc_usable_size(block) : 0;
    void *moved = __libc_realloc(block, size);
    if (moved == NULL && size > 0) return NULL;
    atomic_fetch_sub(&used, before);
    return count(moved);
}

void free(void *block) {
    forget(block);
    __libc_free(block);
}

/* What is mapped counts whole, used or not. */
void *mmap(void *at, size_t size, int access, int kind, int fd, off_t offset) {
    void *mapped = (void *)syscall(SYS_mmap, at, size, access, kind, fd, offset);
    if (mapped != MAP_FAILED && kind & MAP_ANONYMOUS) grow(size);
    return mapped;
}

static __attribute__((destructor)) void report(void) {
    const char *path = getenv("HEAP_REPORT");
    const size_t n = atomic_load(&allocations), most = atomic_load(&peak);
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file == NULL) return;
    fprintf(file, "allocations %zu\npeak %zu\n", n, most);
    fclose(file);
}
