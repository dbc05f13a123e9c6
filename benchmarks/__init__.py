"""Recipes and programs that reproduce published or own tables; nothing imports them."""
