"""The paper's tables, one command each: rows trained, judged, put beside the paper's."""
