#ifndef UTIL_SIZE_H
#define UTIL_SIZE_H

enum { MAX_WORDS = 16 };

#endif
