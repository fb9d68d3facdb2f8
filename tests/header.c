/* What a user's first file does, and all that a header must survive in C and in C++. */
#include <asyncio.h>
#include <asyncio.h>
#include <asyncio_await.h>
