"""One run over one scene, or a share of it: what is asked, what is kept, what goes on after a stop."""
