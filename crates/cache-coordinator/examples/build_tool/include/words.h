#ifndef WORDS_H
#define WORDS_H

#include "util/size.h"

struct words {
    const char *word[MAX_WORDS];
    int count;
};

/* Adds a word and returns whether there was room for it. */
int words_add(struct words *words, const char *word);

#endif
