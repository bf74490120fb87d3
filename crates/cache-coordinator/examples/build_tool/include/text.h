#ifndef TEXT_H
#define TEXT_H

/* Returns the number of letters of a word. */
int text_letters(const char *word);

#endif
