"""The three model services. They never import each other."""
