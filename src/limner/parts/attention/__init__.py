"""Operations on q, k, v and maps at a named site."""
