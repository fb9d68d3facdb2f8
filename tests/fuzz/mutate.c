/* Inputs are made of inputs, record by record: so a script keeps its meaning when another grows. */
#include "mutate.h"
#include "steps.h"

#include <string.h>

static unsigned next(unsigned *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 8;
}

static uint8_t interesting(unsigned *seed) {
    static const uint8_t few[] = {0, 1, 2, 7, 0x20, 0x40, 0x80, 0xa0, 0xc0, 0xe0, 0xff};
    unsigned r = next(seed);
    return r & 1 ? (uint8_t)(r >> 1) : few[(r >> 1) % sizeof few];
}

static void record(uint8_t *out, unsigned *seed) {
    out[0] = (uint8_t)next(seed);
    out[1] = (uint8_t)next(seed);
    for (int i = 2; i < RECORD; i++) out[i] = interesting(seed);
}

size_t mutate(uint8_t *data, size_t size, size_t room, unsigned seed) {
    unsigned times = 1 + next(&seed) % 5;
    if (size < HEADER) {
        if (room < HEADER) return size;
        for (; size < HEADER; size++) data[size] = (uint8_t)next(&seed);
    }
    while (times-- > 0) {
        size_t records = (size - HEADER) / RECORD;
        size_t at = HEADER + (records > 0 ? next(&seed) % records : 0) * RECORD;
        size_t from = HEADER + (records > 0 ? next(&seed) % records : 0) * RECORD;
        uint8_t saved[RECORD];
        size = HEADER + records * RECORD;
        switch (records == 0 ? 0 : next(&seed) % 9) {
        case 0:
        case 1: /* a new one */
            if (size + RECORD > room) break;
            memmove(data + at + RECORD, data + at, size - at);
            record(data + at, &seed);
            size += RECORD;
            break;
        case 2: /* the same again, elsewhere */
            if (size + RECORD > room) break;
            memcpy(saved, data + from, RECORD);
            memmove(data + at + RECORD, data + at, size - at);
            memcpy(data + at, saved, RECORD);
            size += RECORD;
            break;
        case 3: /* one fewer */
            memmove(data + at, data + at + RECORD, size - at - RECORD);
            size -= RECORD;
            break;
        case 4: /* two in another order */
            memcpy(saved, data + from, RECORD);
            memmove(data + from, data + at, RECORD);
            memcpy(data + at, saved, RECORD);
            break;
        case 5: /* by somebody else */
            data[at] = (uint8_t)next(&seed);
            break;
        case 6: /* on another runtime */
            data[next(&seed) % HEADER] ^= (uint8_t)(1u << next(&seed) % 8);
            break;
        default: /* with another argument */
            data[at + 1 + next(&seed) % (RECORD - 1)] = interesting(&seed);
        }
    }
    return size;
}
