//! Row 8: Files that no event announces, in every way that files come and go, and very many of them.
