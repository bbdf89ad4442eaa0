"""What agents are assembled from: networks, problems, and the two kinds of meta-learner."""
