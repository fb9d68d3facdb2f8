/* Changes an input at random: see mutate.c. */
#ifndef ASYNCIO_FUZZ_MUTATE_H
#define ASYNCIO_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* Changes `size` bytes of `data`, which has room for so many; returns how many there are now. */
size_t mutate(uint8_t *data, size_t size, size_t room, unsigned seed);

#endif
