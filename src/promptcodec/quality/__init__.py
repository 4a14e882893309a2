"""How close two pictures are: the measures that training, evaluation and the targets of encoding share."""
