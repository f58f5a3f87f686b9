"""A query becomes an answer: hits, candidates, aligned spans, scores, results."""
