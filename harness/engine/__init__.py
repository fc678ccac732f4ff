"""The packed engine: ask each image once. Imported only by the models that need torch."""
