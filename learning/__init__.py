"""What a scenario trains, opened for every side: its imagery, its task, and where its model comes from.

``mission`` says these things and knows no torch; ``splitmodel`` does them and knows no scenario. Ground, satellites and
the command line all start here, so that none of them opens something else than the others.
"""
