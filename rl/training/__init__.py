"""Training of Q-networks on Atari games, with and without replay memory."""
