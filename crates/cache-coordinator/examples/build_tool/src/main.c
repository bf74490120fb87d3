#include <stdio.h>

#include "text.h"
#include "words.h"

int main(int argc, char **argv) {
    struct words words = {.count = 0};
    for (int at = 1; at < argc && words_add(&words, argv[at]); at++) {
    }
    for (int at = 0; at < words.count; at++) {
        printf("%s: %d\n", words.word[at], text_letters(words.word[at]));
    }
    printf("room for %d\n", MAX_WORDS - words.count);
    return 0;
}
