"""Annotators: how far they agree, and whether the place of a reply sways them."""
