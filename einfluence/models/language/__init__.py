"""A language model of the project's own: its world as a corpus, its training, its marks.

`pretrain` makes the folder that ships in `data/models/world`; `world_plan` is the plan that made it.
"""
