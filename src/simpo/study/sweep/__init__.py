"""Settings tried one after another by any number of workers, and the choice among them."""
