"""How the second tier judged single documents: p_bad against the bound of their stratum, and what speaks for it."""
