from codesign.search import evolution
from tests.support.suites.proposer import ProposerSuite


class TestNevergrad(ProposerSuite):
    def make(self, objectives):
        return evolution.make(objectives, evolution.Options())
