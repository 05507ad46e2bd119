"What an endpoint costs."
