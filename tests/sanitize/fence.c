/* What ThreadSanitizer does not understand: fences. The standard library's Arc has one, after the
 * count of the last owner went down and before the object is dropped, and it is compiled into our
 * crate. It acquires what the others released into the count, so that is said here in
 * ThreadSanitizer's own words. Our own code has no fences.
 *
 * The linker puts these functions in the place of the runtime's.
 */
#include <stdint.h>

enum { ACQUIRE = 2 }; /* what LLVM calls memory_order_acquire */

void __tsan_acquire(void *at);
void __real___tsan_atomic_thread_fence(int order);
uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *at, uint64_t by, int order);
void __wrap___tsan_atomic_thread_fence(int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *at, uint64_t by, int order);

/* The count that this thread took from last. */
static _Thread_local volatile uint64_t *last;

uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *at, uint64_t by, int order) {
    last = at;
    return __real___tsan_atomic64_fetch_sub(at, by, order);
}

void __wrap___tsan_atomic_thread_fence(int order) {
    __real___tsan_atomic_thread_fence(order);
    if (order == ACQUIRE && last != 0) __tsan_acquire((void *)(uintptr_t)last);
    last = 0;
}
