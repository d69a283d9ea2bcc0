"""actrobust: which activation function survives dirty training data?"""
