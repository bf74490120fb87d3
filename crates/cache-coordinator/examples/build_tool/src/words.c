#include "words.h"

int words_add(struct words *words, const char *word) {
    if (words->count == MAX_WORDS) {
        return 0;
    }
    words->word[words->count++] = word;
    return 1;
}
