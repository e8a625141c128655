"""The weak engine: the equation tested against smooth functions, with the noise bias subtracted."""
