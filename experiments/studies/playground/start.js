// Everything begins here, and what a test may reach stands in window.playground.

const DATA = JSON.parse(find("data").textContent);
window.playground = {
  data: DATA,
  points: startPoints(DATA.sinusoid),
  theta: startTheta(DATA.plane),
  surface: startSurface(DATA.plane, DATA.surface),
  goal: startGoal(DATA.walk),
  bandit: startBandit(DATA.bandit),
  numbers: {
    adapt, predict, regressor, lossAfter, optimum, metaGradient, land, walk, walkPolicy, policyStep, advantages, walkTrial, memoryAgent,
    pullProbabilities, totalReward,
  },
};
