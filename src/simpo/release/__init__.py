"""From a finished run to what is shipped: weights that load anywhere, their card, their lineage, and the proof."""
