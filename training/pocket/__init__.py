"""Training the pocket base and its judges on the pocket world: `python -m training.pocket`.

Every stage is a function of a run folder and is finished, resumed or begun by calling it; what a step does depends on
the run's seed and the step alone.
"""
