from codesign.search import regularized_evolution
from tests.support.suites.proposer import ProposerSuite


class TestRegularizedEvolution(ProposerSuite):
    def make(self, objectives):
        return regularized_evolution.make(
            objectives, regularized_evolution.Options(population=8, sample=3)
        )
