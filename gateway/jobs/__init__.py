"""Jobs: calls that are accepted now and made later; the table `jobs` is their queue."""
