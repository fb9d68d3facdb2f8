/* What libFuzzer asks for, beside the target itself. */
#include "mutate.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed) {
    /* Its own mutations know what was compared with what. */
    if (seed % 8 == 0) size = LLVMFuzzerMutate(data, size, room);
    return mutate(data, size, room, seed / 8);
}
