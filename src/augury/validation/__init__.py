"""Whether a ranking told the truth: experiments that pretrain with every candidate, and judge."""
