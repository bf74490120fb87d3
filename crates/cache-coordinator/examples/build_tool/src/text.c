#include "text.h"

int text_letters(const char *word) {
    int letters = 0;
    while (word[letters] != '\0') {
        letters++;
    }
    return letters;
}
